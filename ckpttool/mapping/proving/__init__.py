"""The numeric proof of a migration."""
