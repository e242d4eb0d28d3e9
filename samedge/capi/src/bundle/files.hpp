// Files of a path that a user gave, and of a folder that strangers may change: samedge/files/paths.py and
// the reading part of samedge/bundle/names.py and reader.py.
#pragma once

#include <cstdint>
#include <string>

#include "bundle/bundle.hpp"

namespace samedge {

// A file descriptor that is closed with its owner.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(Descriptor &&other) noexcept : number_(other.release()) {}
  Descriptor &operator=(Descriptor &&other) noexcept;
  ~Descriptor();

  int get() const noexcept { return number_; }
  bool there() const noexcept { return number_ >= 0; }
  int release() noexcept;

 private:
  int number_ = -1;
};

// "No such file or directory".
std::string said_by_system(int error);

// A plain file below an open folder: no part of `file` is a link, and nothing is waited for. `bundle`: its
// name, for messages. Sets `size`.
// Throws Failure(BUNDLE): it is missing, cannot be reached, or is something else.
Descriptor open_below(const Descriptor &folder, const std::string &file, const std::string &bundle,
                      std::uint64_t &size);

// Memory for a file's bytes.
Bytes bytes_of_size(std::size_t size);

// All of an open file, which has `size` bytes and not more or less.
// Throws Failure(BUNDLE): it has, or cannot be read.
Bytes read_all(const Descriptor &file, std::size_t size, const std::string &name, const std::string &bundle);

}  // namespace samedge
