// c10d's process group over Gloo, with calls that another thread can end.
#include "common.hpp"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <condition_variable>
#include <memory>
#include <mutex>

using c10d::ProcessGroupGloo;
using StorePtr = c10::intrusive_ptr<c10d::TCPStore>;
using WorkPtr = c10::intrusive_ptr<c10d::Work>;

namespace {

// Wakes those who wait for work, when it is done and when it is given up.
struct Bell {
  std::mutex mutex;
  std::condition_variable rung;
  bool aborted = false;

  void ring() {
    std::lock_guard<std::mutex> lock(mutex);
    rung.notify_all();
  }
};

struct Group {
  c10::intrusive_ptr<ProcessGroupGloo> gloo;
  std::shared_ptr<Bell> bell = std::make_shared<Bell>();
};

struct Pending {
  WorkPtr work;
  // Complete before its callbacks run; the work itself says so only after them.
  c10::intrusive_ptr<c10::ivalue::Future> future;
  std::shared_ptr<Bell> bell;
};

// libtorch's flight recorder, one for all groups of a process, notes a group in a map without holding its lock
// (2.11): work that begins on two groups at once would break it.
std::mutex beginning;

char* start(void* group, void** pending, const std::function<WorkPtr(ProcessGroupGloo&)>& begin) {
  return guarded([&] {
    auto& own = *static_cast<Group*>(group);
    auto work = [&] {
      std::lock_guard<std::mutex> lock(beginning);
      return begin(*own.gloo);
    }();
    // The bell outlives the group where work does.
    auto future = work->getFuture();
    future->addCallback([bell = own.bell](c10::ivalue::Future&) { bell->ring(); });
    *pending = new Pending{std::move(work), std::move(future), own.bell};
  });
}

}  // namespace

extern "C" {

// `address`: of this host, where the others reach it; or an interface's name.
char* mugs_gloo_new(void* store, const char* prefix, int rank, int size, uint64_t timeout_ms, const char* address,
                    bool is_interface, void** group) {
  return guarded([&] {
    auto options = ProcessGroupGloo::Options::create(std::chrono::milliseconds(timeout_ms));
    options->devices.push_back(is_interface ? ProcessGroupGloo::createDeviceForInterface(address)
                                            : ProcessGroupGloo::createDeviceForHostname(address));
    auto named = c10::make_intrusive<c10d::PrefixStore>(prefix, *static_cast<StorePtr*>(store));
    auto own = std::make_unique<Group>();
    own->gloo = c10::make_intrusive<ProcessGroupGloo>(named, rank, size, options);
    *group = own.release();
  });
}

void mugs_gloo_free(void* group) {
  free(guarded([&] { delete static_cast<Group*>(group); }));
}

void mugs_gloo_abort(void* group) {
  auto& bell = *static_cast<Group*>(group)->bell;
  std::lock_guard<std::mutex> lock(bell.mutex);
  bell.aborted = true;
  bell.rung.notify_all();
}

char* mugs_gloo_all_reduce(void* group, TensorPtr tensor, void** pending) {
  return start(group, pending, [&](ProcessGroupGloo& gloo) {
    std::vector<at::Tensor> tensors{tensor->detach()};
    return gloo.allreduce(tensors);
  });
}

// `outputs`: [world, ...], dense.
char* mugs_gloo_all_gather(void* group, TensorPtr input, TensorPtr outputs, void** pending) {
  return start(group, pending, [&](ProcessGroupGloo& gloo) {
    std::vector<at::Tensor> inputs{input->detach()};
    std::vector<std::vector<at::Tensor>> lists{outputs->detach().unbind(0)};
    return gloo.allgather(lists, inputs);
  });
}

char* mugs_gloo_broadcast(void* group, TensorPtr tensor, int root, void** pending) {
  return start(group, pending, [&](ProcessGroupGloo& gloo) {
    std::vector<at::Tensor> tensors{tensor->detach()};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return gloo.broadcast(tensors, options);
  });
}

// 0: done, 1: given up, 2: failed, and then `error` says why.
int mugs_pending_wait(void* pending, char** error) {
  auto& own = *static_cast<Pending*>(pending);
  {
    std::unique_lock<std::mutex> lock(own.bell->mutex);
    own.bell->rung.wait(lock, [&] { return own.bell->aborted || own.future->completed(); });
  }
  if (!own.future->completed()) {
    return 1;
  }
  *error = guarded([&] {
    if (own.future->hasError()) {
      std::rethrow_exception(own.future->exception_ptr());
    }
  });
  return *error == nullptr ? 0 : 2;
}

void mugs_pending_free(void* pending) {
  free(guarded([&] { delete static_cast<Pending*>(pending); }));
}

}  // extern "C"
