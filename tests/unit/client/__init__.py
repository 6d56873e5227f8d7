"""What submits runs and looks at them."""
