"""The service as one FastAPI process over PostgreSQL: what Eisbach's cells are compared with. See README.md."""
