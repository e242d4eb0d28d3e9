// A graph as files, for libraries that read nothing else: samedge/bundle/space.py's private_folder.
#pragma once

#include <string>

#include "bundle/bundle.hpp"

namespace samedge {

// A folder that only this user can look into, with the very bytes that were hashed. It lies among the
// system's temporary files ($TMPDIR, /tmp), or in the user's cache where those have no room, and goes with
// this object. What a killed process left behind is swept by the next export or load in Python.
class GraphCopy {
 public:
  // Throws Failure(NOT_SUPPORTED): there is no room, or nothing can be written.
  explicit GraphCopy(const GraphFiles &files);
  ~GraphCopy();
  GraphCopy(const GraphCopy &) = delete;
  GraphCopy &operator=(const GraphCopy &) = delete;

  // Of the graph; the weights lie beside it.
  const std::string &path() const noexcept { return path_; }

 private:
  void remove() noexcept;

  int lock_ = -1;
  std::string folder_, path_, weights_;
};

}  // namespace samedge
