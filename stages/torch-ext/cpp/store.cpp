// c10d's TCP store, in which ranks find each other.
#include "common.hpp"

#include <c10/util/Flags.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <dlfcn.h>
#include <netdb.h>

C10_DECLARE_int(caffe2_log_level);

using c10d::TCPStore;
using StorePtr = c10::intrusive_ptr<TCPStore>;

extern "C" {

// In place of the C library's, in this whole process. libtorch asks for the name of the other end of each of its
// connections, only to print it, and the store's server asks before it answers anybody: with a name server that is slow
// or gone, all ranks would stand still for five seconds or more, once for each connection. Digits need nobody's answer.
int getnameinfo(const sockaddr* address, socklen_t length, char* host, socklen_t host_length, char* service,
                socklen_t service_length, int flags) {
  using Real = decltype(&getnameinfo);
  static const auto real = reinterpret_cast<Real>(dlsym(RTLD_NEXT, "getnameinfo"));
  if (real == nullptr) {
    return EAI_FAIL;
  }
  return real(address, length, host, host_length, service, service_length, flags | NI_NUMERICHOST);
}

// Of libtorch's own log only what ends the process: errors come back to the caller, without pages of stack traces.
void mugs_quiet_log() {
  constexpr int kFatal = 3;
  FLAGS_caffe2_log_level = kFatal;
}

char* mugs_store_new(const char* host, uint16_t port, bool serves, uint64_t timeout_ms, void** store) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    *store = new StorePtr(c10::make_intrusive<TCPStore>(std::string(host), options));
  });
}

void mugs_store_free(void* store) {
  // Closing a connection that is broken must not end the process.
  free(guarded([&] { delete static_cast<StorePtr*>(store); }));
}

uint16_t mugs_store_port(void* store) {
  return (*static_cast<StorePtr*>(store))->getPort();
}

// The server does not acknowledge a write. It serves a connection's messages in their order, so that the answer to a
// question asked after the write says that it is done, for all other connections too.
char* mugs_store_set(void* store, const char* key, const uint8_t* data, size_t length) {
  return guarded([&] {
    auto& own = *static_cast<StorePtr*>(store);
    own->set(key, std::vector<uint8_t>(data, data + length));
    TORCH_CHECK(own->check({key}), "the store lost what was written");
  });
}

// The value in memory that the caller frees.
char* mugs_store_get(void* store, const char* key, uint64_t timeout_ms, uint8_t** data, size_t* length) {
  return guarded([&] {
    auto& own = *static_cast<StorePtr*>(store);
    own->wait({key}, std::chrono::milliseconds(timeout_ms));
    const auto value = own->get(key);
    *data = static_cast<uint8_t*>(malloc(value.empty() ? 1 : value.size()));
    TORCH_CHECK(*data != nullptr, "out of memory");
    if (!value.empty()) {
      std::memcpy(*data, value.data(), value.size());
    }
    *length = value.size();
  });
}

char* mugs_store_add(void* store, const char* key, int64_t value, int64_t* sum) {
  return guarded([&] { *sum = (*static_cast<StorePtr*>(store))->add(key, value); });
}

char* mugs_store_check(void* store, const char* key, bool* present) {
  return guarded([&] { *present = (*static_cast<StorePtr*>(store))->check({key}); });
}

}  // extern "C"
