"""The five-part model: embedding, encoder, target embedding, decoder, target."""
