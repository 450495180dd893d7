"""Reports: from records to tables, figures and one page. Reads `lcrbench.bench.store` and never imports torch."""
