// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// Why a call failed, and whether trying again can help (docs/errors.md).

#pragma once

#include <grpcpp/grpcpp.h>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>

#include "error_info.pb.h"

struct Failure {
    grpc::StatusCode code;
    std::string reason;  // empty where no SpineRT server named one: the network failed
    std::string message;
    std::chrono::milliseconds retry_after{0};  // above 0: worth trying after this long
};

inline Failure failure_from_status(const grpc::Status& status) {
    Failure failure{status.error_code(), "", status.error_message()};
    spinert_device::ErrorStatus carried;
    // Bytes of the network; where they are no such message, the status says enough.
    if (!carried.ParseFromString(status.error_details())) return failure;
    for (const google::protobuf::Any& detail : carried.details()) {
        spinert_device::ErrorInfo info;
        if (detail.type_url() != "type.googleapis.com/google.rpc.ErrorInfo" ||
            !info.ParseFromString(detail.value()) || info.domain() != "spinert") {
            continue;
        }
        failure.reason = info.reason();
        const auto told = info.metadata().find("retry_after_ms");
        if (told != info.metadata().end()) {
            const std::string& text = told->second;
            std::uint32_t asked_ms = 0;  // stays so where the text is no such number
            std::from_chars(text.data(), text.data() + text.size(), asked_ms);
            failure.retry_after = std::chrono::milliseconds(asked_ms);
        }
    }
    return failure;
}

// A server that named a reason has decided, unless it is going down, starting, or was
// started anew. Without one, it is what gRPC says of a connection that is gone.
inline bool may_pass(const Failure& failure) {
    if (!failure.reason.empty()) {
        return failure.retry_after.count() > 0 || failure.reason == "SHUTTING_DOWN" ||
               failure.reason == "NOT_READY" || failure.reason == "RESUME_TOKEN_UNKNOWN";
    }
    return failure.code == grpc::StatusCode::UNAVAILABLE ||
           failure.code == grpc::StatusCode::INTERNAL ||
           failure.code == grpc::StatusCode::UNKNOWN || failure.code == grpc::StatusCode::CANCELLED;
}
