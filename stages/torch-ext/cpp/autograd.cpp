// Calls into Rust from the backward pass.
#include "common.hpp"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace {

// Gives a tensor to Rust; null, or what went wrong, in memory that is freed here.
using Callback = char* (*)(void* context, TensorPtr tensor);
using Release = void (*)(void* context);

struct Call {
  Callback callback;
  Release release;
  void* context;

  Call(Callback callback, Release release, void* context) : callback(callback), release(release), context(context) {}
  Call(const Call&) = delete;
  ~Call() { release(context); }

  void operator()(at::Tensor tensor) const {
    if (char* error = callback(context, &tensor)) {
      const std::string message(error);
      free(error);
      TORCH_CHECK(false, message);
    }
  }
};

struct Hook : torch::autograd::PostAccumulateGradHook {
  std::unique_ptr<Call> call;
  explicit Hook(std::unique_ptr<Call> call) : call(std::move(call)) {}
  void operator()(const at::Tensor& parameter) override { (*call)(parameter.grad()); }
};

struct CallHolder : torch::CustomClassHolder {
  std::unique_ptr<Call> call;
  explicit CallHolder(std::unique_ptr<Call> call) : call(std::move(call)) {}
};

// What `call` makes of a copy of the input; the gradient goes through `call` too.
struct Through : torch::autograd::Function<Through> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                            const c10::intrusive_ptr<CallHolder>& call) {
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    auto output = input.detach().clone(at::MemoryFormat::Contiguous);
    (*call->call)(output);
    return output;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    auto call = c10::static_intrusive_pointer_cast<CallHolder>(context->saved_data["call"].toCapsule());
    auto gradient = gradients[0].detach().clone(at::MemoryFormat::Contiguous);
    (*call->call)(gradient);
    return {gradient, at::Tensor()};
  }
};

}  // namespace

extern "C" {

char* mugs_hook_gradient(TensorPtr parameter, Callback callback, Release release, void* context) {
  auto call = std::make_unique<Call>(callback, release, context);
  return guarded([&] {
    torch::autograd::impl::set_post_acc_grad_hooks(*parameter, std::make_unique<Hook>(std::move(call)));
  });
}

char* mugs_set_gradient(TensorPtr parameter, TensorPtr gradient) {
  return guarded([&] { parameter->mutable_grad() = *gradient; });
}

char* mugs_gradients_by(TensorPtr output, TensorPtr gradient, TensorPtr const* inputs, size_t count,
                        TensorPtr const* results) {
  return guarded([&] {
    std::vector<at::Tensor> by;
    for (size_t i = 0; i < count; ++i) by.push_back(*inputs[i]);
    auto found = torch::autograd::grad({*output}, by, {*gradient});
    for (size_t i = 0; i < count; ++i) *results[i] = found[i];
  });
}

char* mugs_unhook_gradient(TensorPtr parameter) {
  return guarded([&] { torch::autograd::impl::set_post_acc_grad_hooks(*parameter, nullptr); });
}

char* mugs_through(TensorPtr input, Callback callback, Release release, void* context, TensorPtr output) {
  auto call = std::make_unique<Call>(callback, release, context);
  return guarded([&] { *output = Through::apply(*input, c10::make_intrusive<CallHolder>(std::move(call))); });
}

}  // extern "C"
