// What a bundle says about itself, checked in every part: samedge/bundle/manifest.py, parsing.py.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/tensor.hpp"
#include "bundle/family.hpp"

namespace samedge {

struct Variant {
  std::string vit;
  int input_size = 0;
  int grid = 0;
  int low_res = 0;
  int channels = 0;
  int prompt_dim = 0;  // 0 where an older bundle does not say
};

// An input or output of a graph. Free axes are -1.
struct TensorSpec {
  std::string name;
  Element element = Element::u8;
  Shape shape;
};

struct GraphIO {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;

  const TensorSpec *input(std::string_view name) const noexcept;   // nullptr if there is none
  const TensorSpec *output(std::string_view name) const noexcept;
};

struct GraphEntry {
  std::string file;
  GraphIO io;
  std::string sha256;
};

struct FileEntry {
  std::string sha256;  // 64 hexadecimal digits
  std::uint64_t bytes = 0;
};

struct ParityRow {
  std::string backend;
  std::string precision;
  bool passed = false;
};

struct Manifest {
  std::string title;
  Family family;
  Variant variant;
  std::map<std::string, std::map<std::string, GraphEntry>> graphs;  // "encoder", "decoder"
  std::vector<std::string> questions;                               // of the source
  std::vector<ParityRow> parity;
  // Of the calibration record: where INT8 took its ranges from ("" where nothing was calibrated), and
  // the range of each statistic of its frames (see frames/look.hpp).
  std::string calibration_source;
  std::map<std::string, std::pair<double, double>> looks;
  std::map<std::string, FileEntry> files;

  const GraphEntry *graph(const std::string &graph, const std::string &key) const noexcept;
};

// Parse and check a manifest, its own digest first.
// Throws Failure(BUNDLE): not JSON, another schema, changed, incomplete, or beyond its limits.
Manifest parse_manifest(std::string_view data);

}  // namespace samedge
