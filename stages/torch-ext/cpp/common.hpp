// Every function here has C linkage, throws nothing and gives its error as a text that the caller frees.
#pragma once
#include <torch/torch.h>

#include <cstdlib>
#include <cstring>
#include <exception>

// The caller's tensors: pointers to at::Tensor, as torch-sys hands them out.
using TensorPtr = at::Tensor*;

// libtorch's messages end in a stack trace that tells a user nothing.
inline char* text_of(const std::exception& error) {
  if (const auto* own = dynamic_cast<const c10::Error*>(&error)) {
    return strdup(own->what_without_backtrace());
  }
  return strdup(error.what());
}

// Runs `body`; null, or what went wrong.
template <typename Body>
char* guarded(Body&& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return text_of(error);
  } catch (...) {
    return strdup("an exception without a message");
  }
}
