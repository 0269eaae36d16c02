"""What both processes agree on: records, wire, journal, configuration, the guard. Imports neither process."""
