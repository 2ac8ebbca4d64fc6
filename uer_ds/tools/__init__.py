"""Small tools around a trained model: blanks filled, texts judged."""
