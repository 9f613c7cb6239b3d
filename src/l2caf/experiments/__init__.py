"""What the project trains and measures: one module per network, table or figure."""
