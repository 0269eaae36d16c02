"""The quoting process: looks, values, guards, quotes, records. Start reading at engine.py."""
