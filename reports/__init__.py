"""Reports: from records to tables, figures and one page. Reads `lcrbench.bench.records.store` and never imports torch."""
