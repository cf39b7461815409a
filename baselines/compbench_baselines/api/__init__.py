"""Models behind an OpenAI-compatible service: what they are asked, how, and how their answers become scores."""
