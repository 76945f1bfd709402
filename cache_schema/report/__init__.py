"""Reports: one HTML file each, with its charts, pictures and sounds inside.

They use no network. Drawing and pages are here, for caches and for what students make of
them alike. Needs the extra ``[report]``; `cache_schema.report.extra` is what a command checks first.
"""
