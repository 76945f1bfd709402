"""The charts of a report: the only modules that import bokeh.

Their ink comes from the page's style sheet, which knows light and dark.
"""
