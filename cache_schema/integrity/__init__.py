"""Find damage, rebuild metadata, clean up after a kill."""
