"""What the report stage is made of: statistics, tables, figures and the page."""
