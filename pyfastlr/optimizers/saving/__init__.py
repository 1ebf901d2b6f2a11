"""What an optimizer saves, and how it is read back: `state_dict`, flat states, and loading."""
