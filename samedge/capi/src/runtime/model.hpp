// A bundle, read, compiled and shared by sessions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "frames/look.hpp"
#include "runtime/backend.hpp"

namespace samedge {

class Model {
 public:
  // Throws Failure: see samedge_model_open.
  static std::shared_ptr<Model> open(const std::string &path, const samedge_model_options &options);

  const Manifest &manifest() const noexcept { return manifest_; }
  const Family &family() const noexcept { return manifest_.family; }
  const LoadOptions &options() const noexcept { return options_; }
  const Backend &backend() const noexcept { return *backend_; }
  const std::string &why() const noexcept { return why_; }
  const std::string &device() const noexcept { return device_; }
  const std::string &notes() const noexcept { return notes_; }
  // What the checkpoint left open, a line each: it holds for every answer.
  const std::string &questions() const noexcept { return questions_; }
  const std::optional<CalibrationLooks> &looks() const noexcept { return looks_; }
  // Side of the image embedding [slices, D, g, g].
  const Shape &embedding_shape() const noexcept { return embedding_shape_; }
  // Packed self-tests, by name; small.
  const std::vector<std::pair<std::string, Bytes>> &self_tests() const noexcept { return self_tests_; }

  std::unique_ptr<Engines> open_engines() { return loaded_->open(); }

 private:
  Manifest manifest_;
  const Backend *backend_ = nullptr;
  LoadOptions options_;
  std::string why_, device_, notes_, questions_;
  std::optional<CalibrationLooks> looks_;
  Shape embedding_shape_;
  std::vector<std::pair<std::string, Bytes>> self_tests_;
  std::shared_ptr<LoadedModel> loaded_;
};

}  // namespace samedge
