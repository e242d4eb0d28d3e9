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

// A graph as its engine is to read it. Tensors of 64 kB and more of large graphs stand in a second file, and
// the graph says where in it ("external data" in ONNX). A reader that takes bytes and knows no second file
// gets both as files from a `GraphCopy`; one that finds the tensors itself takes them from `weights`.
struct GraphFiles {
  std::string name;          // of the file, without folders: "encoder.fp32.onnx"
  Bytes graph;
  std::string weights_name;  // the same and ".data"; "" where all weights are in the graph
  Bytes weights;
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
  // The last part of the path, as a message shows it.
  const std::string &name() const noexcept { return name_; }
  // Folder that may hold engines ("<bundle>/engines"); "" for a zip file.
  virtual std::string engines_folder() const = 0;

  // The content of a file of the manifest: read once, into memory, and these bytes were hashed.
  // Throws Failure(BUNDLE, MEMORY): not listed, missing, a link, or changed since the export.
  virtual Bytes read(const std::string &file) const = 0;

  // The ONNX graph of an entry, and its weights where they are in a second file; read and hashed as `read`
  // does, and checked to be what samedge's exporters write (bundle/graph_check.hpp).
  // Throws Failure(BUNDLE, MEMORY).
  GraphFiles read_graph(const GraphEntry &entry) const;

  // Names of the self-test files.
  std::vector<std::string> self_tests() const;

 protected:
  Bundle(std::string path, Manifest manifest);

  // Throws Failure(BUNDLE): the manifest has no such file.
  const FileEntry &listed(const std::string &file) const;
  // Throws Failure(BUNDLE): the bytes are not those that were exported.
  void check_hash(const std::string &file, const FileEntry &entry, const Bytes &bytes) const;

  std::string path_;
  std::string name_;
  Manifest manifest_;
};

}  // namespace samedge
