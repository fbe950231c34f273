// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// A frame and its answer, over a stream that survives its connection and its server.

#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <variant>

#include "failure.hpp"
#include "inference.grpc.pb.h"
#include "shared_memory.hpp"

// Served, or refused with a reason: either way the frame is done with.
using Answer = std::variant<spinert::v1::Result, spinert::v1::FrameError>;

// There is no answer, and waiting for it any longer is of no use.
class StreamFailed : public std::runtime_error {
 public:
    explicit StreamFailed(const Failure& failure);
};

class Client {
 public:
    // `address` is HOST:PORT or unix:PATH. `device` is the unit of fairness, quotas and
    // resuming, so no two devices should have the same; no patient data.
    Client(const std::string& address, std::string device);

    // Sends the frame, again where it was lost, and waits for its answer. The pixels are
    // in the frame, or in `memory` where that is given; they must stay until this returns.
    // Tells on standard error when it has to come back. Throws StreamFailed.
    Answer analyze(spinert::v1::Frame frame, const SharedMemory* memory);

 private:
    std::unique_ptr<spinert::v1::SpineInference::Stub> stub_;
    std::string device_;
};
