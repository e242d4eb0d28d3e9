#include "bundle/graph_check.hpp"

namespace samedge {

void check_graph(const GraphFiles &, const GraphEntry &) {}

}  // namespace samedge
