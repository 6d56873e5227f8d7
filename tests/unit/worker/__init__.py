"""What only workers do: messages, signals, logs, the settings of a team's app."""
