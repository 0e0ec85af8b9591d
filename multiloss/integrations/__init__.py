"""Adapters to other libraries, one module each. Importing one imports its library."""
