"""The telemetry process: owns the SQLite file, stores every record exactly once. Start reading at writer.py."""
