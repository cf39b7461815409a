"""Tables and sentences for the terminal, Markdown, LaTeX and CSV."""
