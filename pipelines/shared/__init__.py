"""What several jobs need."""
