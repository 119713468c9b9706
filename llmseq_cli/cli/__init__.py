"""What the user types: one file a command group. Only this room prints and exits."""
