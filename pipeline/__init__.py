"""The writer: corpora, views, teachers and the batch stage that fills a cache."""
