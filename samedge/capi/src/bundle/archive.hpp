// Entries of a zip file, by libzip.
#pragma once

#include <zip.h>

#include <cstdint>
#include <map>
#include <string>

#include "bundle/files.hpp"

namespace samedge {

// Not for two threads at once.
class Archive {
 public:
  struct Entry {
    zip_uint64_t index = 0;
    std::uint64_t size = 0;  // unpacked, as it says itself
  };

  // An open file, or bytes that outlive the archive.
  // Throw Failure(BUNDLE): it is no whole zip file, or not safe to unpack; after `what` and a colon.
  Archive(Descriptor file, const std::string &what);
  Archive(const void *data, std::size_t size, const std::string &what);
  ~Archive();
  Archive(const Archive &) = delete;
  Archive &operator=(const Archive &) = delete;

  // All but folders, by their names, none of which is there twice.
  const std::map<std::string, Entry> &entries() const noexcept { return entries_; }

  // An entry, which has as many bytes as it says.
  // Throws Failure(BUNDLE): it is damaged.
  Bytes read(const Entry &entry, const std::string &name) const;

 private:
  void open(zip_source_t *source, zip_error_t &error);
  void list();

  zip_t *zip_ = nullptr;
  std::string what_;
  std::map<std::string, Entry> entries_;
};

}  // namespace samedge
