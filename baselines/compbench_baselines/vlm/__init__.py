"""Language models as scorers: of text alone, of pictures as tokens, and as judges that are asked about a picture."""
