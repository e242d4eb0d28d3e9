// An open bundle: a folder or a zip file. Nothing in it is used before it was checked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"

namespace samedge {

// Bytes of a file, without the zeros that a vector would write first.
struct Bytes {
  std::unique_ptr<std::uint8_t[]> data;
  std::size_t size = 0;
};

class Bundle {
 public:
  // Throws Failure(BUNDLE, MEMORY): missing, no bundle, of another schema, incomplete or unsafe.
  static std::shared_ptr<const Bundle> open(const std::string &path);

  virtual ~Bundle() = default;

  const Manifest &manifest() const noexcept { return manifest_; }
  const Family &family() const noexcept { return manifest_.family; }
  // As the user wrote it.
  const std::string &path() const noexcept { return path_; }
  // The last part of the path, for messages.
  const std::string &name() const noexcept { return name_; }
  // Folder that may hold engines ("<bundle>/engines"); "" for a zip file.
  virtual std::string engines_folder() const = 0;

  // The content of a file of the manifest: read once, into memory, and these bytes were hashed.
  // Throws Failure(BUNDLE, MEMORY): not listed, missing, a link, or changed since the export.
  virtual Bytes read(const std::string &file) const = 0;

  // Names of the self-test files.
  std::vector<std::string> self_tests() const;

 protected:
  Bundle(std::string path, Manifest manifest);

  std::string path_;
  std::string name_;
  Manifest manifest_;
};

}  // namespace samedge
