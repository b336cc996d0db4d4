"""Commands on finished results: show, query, compare, table, bundle, verify, merge."""
