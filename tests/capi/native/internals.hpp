// For *internals.cpp: functions from inside the library, shown to tests in Python.
#pragma once

#define SAMEDGE_INTERNAL extern "C" __attribute__((visibility("default")))
