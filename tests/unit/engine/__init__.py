"""Tests of running: the engine on the store in memory, the canvas on a broker without workers."""
