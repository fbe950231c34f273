"""What people see: files in, tables, JSON and annotated pictures out."""
