// Damaged manifests, zip files, self-tests, graphs and whole bundles; the first
// byte says which.
//
// tests/capi/bundle_seeds.py writes what to begin with. Whatever comes in has
// to be read or refused with a Failure, within the limits.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "base/failure.hpp"
#include "base/hash.hpp"
#include "bundle/archive.hpp"
#include "bundle/graph_check.hpp"
#include "bundle/limits.hpp"
#include "bundle/manifest.hpp"
#include "bundle/self_test_file.hpp"

namespace {

using samedge::Bundle;

// A manifest whose digest is right whatever else was changed, so that more than
// the digest is tested.
std::string sealed(std::string data) {
  static const std::string key = "\"digest\": \"";
  const std::size_t at = data.rfind(key);
  if (at == std::string::npos || data.size() < at + key.size() + 65)
    return data;
  data.replace(at + key.size(), 64, 64, '0');
  data.replace(at + key.size(), 64,
               samedge::sha256_hex(data.data(), data.size()));
  return data;
}

void read_manifest(const std::string &data) {
  const samedge::Manifest manifest = samedge::parse_manifest(sealed(data));
  if (manifest.family.input_size < 1 || manifest.graphs.size() != 2)
    std::abort();
}

void read_zip(const std::string &data) {
  const samedge::Archive archive(data.data(), data.size(), "a zip");
  std::uint64_t left = samedge::kSmallBytes;
  for (const auto &entry : archive.entries()) {
    if (entry.second.size > left)
      return;
    left -= entry.second.size;
    archive.read(entry.second, entry.first);
  }
}

void read_self_test(const std::string &data) {
  const samedge::SelfTestFrame test = samedge::parse_self_test(
      "fuzzed", reinterpret_cast<const std::uint8_t *>(data.data()),
      data.size());
  const auto pixels = static_cast<std::size_t>(test.height) *
                      static_cast<std::size_t>(test.width);
  if (test.masks.size() != pixels * static_cast<std::size_t>(test.masks_count))
    std::abort();
  if (test.frame.size() != pixels * static_cast<std::size_t>(test.slices) *
                               static_cast<std::size_t>(test.channels))
    std::abort();
}

void read_bundle(const std::string &data) {
  const int file = ::memfd_create("bundle", MFD_CLOEXEC);
  if (file < 0 || ::write(file, data.data(), data.size()) !=
                      static_cast<ssize_t>(data.size()))
    std::abort();
  try {
    const auto bundle = Bundle::open("/proc/self/fd/" + std::to_string(file));
    for (const auto &entry : bundle->manifest().files)
      bundle->read(entry.first);
  } catch (...) {
    ::close(file);
    throw;
  }
  ::close(file);
}

void read_graph(const std::string &data) {
  samedge::GraphFiles files;
  files.name = "encoder.fp32.onnx";
  files.graph.data.reset(new std::uint8_t[data.size() + 1]);
  files.graph.size = data.size();
  std::memcpy(files.graph.data.get(), data.data(), data.size());
  samedge::check_graph(files, samedge::GraphEntry());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data,
                                      std::size_t size) {
  if (size == 0)
    return 0;
  const std::string rest(reinterpret_cast<const char *>(data) + 1, size - 1);
  try {
    switch (data[0] % 5) {
    case 0:
      read_manifest(rest);
      break;
    case 1:
      read_zip(rest);
      break;
    case 2:
      read_self_test(rest);
      break;
    case 3:
      read_bundle(rest);
      break;
    default:
      read_graph(rest);
    }
  } catch (const samedge::Failure &failure) {
    if (failure.status() != SAMEDGE_ERROR_BUNDLE || failure.message().empty()) {
      std::fprintf(stderr, "status %d: %s\n", failure.status(), failure.what());
      std::abort();
    }
  } // nothing else is to be thrown, not even for want of memory: limits come
    // before it
  return 0;
}
