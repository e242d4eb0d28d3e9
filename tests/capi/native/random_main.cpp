// A fuzz target without libFuzzer: for compilers that have none, and under valgrind.
//
//   fuzz_api --runs 100 --seed 1 [FILE...]    random inputs, then those of files
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

int main(int count, char **arguments) {
  long runs = 0;
  unsigned long seed = 1;
  std::vector<const char *> files;
  for (int i = 1; i < count; ++i) {
    const bool more = i + 1 < count;
    if (more && std::strcmp(arguments[i], "--runs") == 0) runs = std::atol(arguments[++i]);
    else if (more && std::strcmp(arguments[i], "--seed") == 0) seed = std::strtoul(arguments[++i], nullptr, 10);
    else files.push_back(arguments[i]);
  }
  std::mt19937_64 random(seed);
  std::vector<std::uint8_t> data;
  for (long run = 0; run < runs; ++run) {
    data.resize(1 + random() % 2048);
    for (std::uint8_t &byte : data) byte = static_cast<std::uint8_t>(random());
    LLVMFuzzerTestOneInput(data.data(), data.size());
  }
  for (const char *name : files) {
    std::ifstream file(name, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "%s cannot be read\n", name);
      return 1;
    }
    data.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    LLVMFuzzerTestOneInput(data.data(), data.size());
  }
  return 0;
}
