//! Bytes to pixels and back: sniffing, decoding, encoding and the crop operators, exact to the bit.
