"""Language models as scorers: text-only priors, and vision-language models that are asked about a picture."""
