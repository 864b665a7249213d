"""Results to text: terminal and JSON.  Sees results, never readers."""
