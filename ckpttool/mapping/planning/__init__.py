"""From rules and names to a plan that is checked whole."""
