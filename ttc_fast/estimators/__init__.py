"""What k of N samples would give, with intervals over prompts: arrays of numpy in and out."""
