"""What is asked for and what was found: specs with their ids, records, and the store that holds them. Imports no torch."""
