// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0

#include "client.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <optional>
#include <thread>
#include <utility>

#include "comeback.hpp"

namespace v1 = spinert::v1;

namespace {

using Stream = grpc::ClientReaderWriter<v1::StreamRequest, v1::StreamReply>;

// Of the only frame; a device that sends many counts on.
constexpr std::uint64_t kSequence = 1;
// A device that keeps a stream open has no such limit: it sets Frame.timeout_ms.
constexpr std::chrono::seconds kAnswerTimeout{120};
constexpr std::chrono::seconds kRegisterTimeout{10};
// A frame that no server survives must not go round for ever.
constexpr int kMaxSends = 10;
constexpr int kMaxAnswerBytes = 64 * 1024 * 1024;

grpc::ChannelArguments channel_options() {
    grpc::ChannelArguments options;
    options.SetMaxReceiveMessageSize(kMaxAnswerBytes);
    // A pulled cable shows only where somebody asks. Servers cut off clients that ask
    // more often than every 5 s.
    options.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
    options.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
    options.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    // gRPC's own pauses between connections grow to two minutes, and calls fail at once
    // meanwhile: it would miss the server that is there again.
    options.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    options.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
    // Despite its name, how long one attempt to connect may take.
    options.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);
    return options;
}

// Neither of the next two codes is one that is tried again.
grpc::Status protocol_broken(const std::string& deed) {
    return {grpc::StatusCode::FAILED_PRECONDITION,
            "the server " + deed + "; use the same version on both sides"};
}

grpc::Status sent_too_often() {
    return {grpc::StatusCode::ABORTED,
            "the frame was sent " + std::to_string(kMaxSends) +
                " times and got no answer: look at the server's log, or at the network"};
}

std::string told(const Failure& failure) {
    std::string text = "stream ended with code " + std::to_string(failure.code);
    if (!failure.reason.empty()) text += " " + failure.reason;
    text += ": " + failure.message;
    if (failure.retry_after.count() > 0) {
        text += " (try again after " + std::to_string(failure.retry_after.count()) + " ms)";
    }
    return text;
}

// What survives a connection: all that is needed to go on with the stream on another.
struct Delivery {
    v1::Frame frame;  // kept until it is answered, as is the memory it lies in
    const SharedMemory* memory;
    std::string device;
    std::chrono::steady_clock::time_point answer_by;
    std::string resume_token{};  // of the stream; empty: a new one
    Comeback comeback{};
    int sends = 0;
    bool is_open = false;      // on the connection there is
    bool is_sent = false;      // so that the server has the frame, or will have it
    bool is_received = false;  // the server has said so, of this stream
    std::uint64_t max_message_bytes = 0;
    std::optional<Answer> answer{};
};

// Tells the server of the memory. One that knows it already is as good: nobody else has
// a region of this name.
grpc::Status register_region(v1::SpineInference::Stub& stub, const SharedMemory& memory) {
    v1::RegisterRegionRequest request;
    request.set_region(memory.key());
    request.set_key(memory.key());
    request.set_length(memory.size());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kRegisterTimeout);
    v1::RegisterRegionReply reply;
    const grpc::Status status = stub.RegisterRegion(&context, request, &reply);
    switch (status.error_code()) {
        case grpc::StatusCode::ALREADY_EXISTS:
            return grpc::Status::OK;
        case grpc::StatusCode::DEADLINE_EXCEEDED:
            // Nobody is there, as after a broken connection: it may be tried again.
            return {grpc::StatusCode::UNAVAILABLE, status.error_message()};
        default:
            return status;
    }
}

// At its end the server forgets the region; where it is gone, so is the region.
struct Registration {
    v1::SpineInference::Stub& stub;
    const SharedMemory* memory;

    ~Registration() {
        if (!memory) return;
        v1::UnregisterRegionRequest request;
        request.set_region(memory->key());
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + kRegisterTimeout);
        v1::UnregisterRegionReply reply;
        stub.UnregisterRegion(&context, request, &reply);
    }
};

// A server that resumes a stream reads only token and device; one that has forgotten it
// has to be told everything again.
v1::StreamRequest opening(const Delivery& delivery) {
    v1::StreamRequest request;
    request.mutable_open()->set_device(delivery.device);
    request.mutable_open()->set_resumable(true);
    request.mutable_open()->set_resume_token(delivery.resume_token);
    return request;
}

grpc::Status start(const v1::Opened& opened, Delivery& delivery) {
    const bool is_received = opened.received_sequence() >= kSequence;
    if (opened.received_sequence() > kSequence || (is_received && !delivery.sends)) {
        return protocol_broken("has frames that were not sent");
    }
    delivery.comeback.opened(std::chrono::milliseconds(opened.resume_window_ms()));
    if (is_received && !delivery.is_received) delivery.comeback.progressed();
    delivery.is_open = true;
    // What the server has not received was lost on the way.
    delivery.is_sent = delivery.is_received = is_received;
    delivery.max_message_bytes = opened.limits().max_message_bytes();
    delivery.resume_token = opened.resume_token();
    return grpc::Status::OK;
}

v1::FrameError message_too_large(std::size_t size_bytes, std::uint64_t limit_bytes) {
    v1::FrameError error;
    error.set_reason("MESSAGE_TOO_LARGE");
    error.set_message(std::to_string(size_bytes) + " bytes, and " + std::to_string(limit_bytes) +
                      " are taken: compress it losslessly, or raise server.max_message_mib");
    return error;
}

grpc::Status send_frame(Stream& stream, Delivery& delivery) {
    v1::StreamRequest request;
    *request.mutable_frame() = delivery.frame;
    const std::size_t size_bytes = request.ByteSizeLong();
    // A larger message would end the stream, with all other frames on it.
    if (size_bytes > delivery.max_message_bytes) {
        delivery.answer = message_too_large(size_bytes, delivery.max_message_bytes);
        return grpc::Status::OK;
    }
    if (delivery.sends == kMaxSends) return sent_too_often();
    ++delivery.sends;
    delivery.is_sent = true;
    // Where it fails, reading tells why.
    stream.Write(request);
    return grpc::Status::OK;
}

grpc::Status arrive(Stream& stream, Delivery& delivery, std::uint64_t sequence, Answer answer) {
    if (sequence != kSequence || !delivery.is_sent) {
        return protocol_broken("answered a frame that was not sent");
    }
    delivery.answer = std::move(answer);
    // The server keeps an answer until it knows that it has arrived.
    v1::StreamRequest request;
    request.mutable_ack()->set_sequence(sequence);
    stream.Write(request);
    return grpc::Status::OK;
}

// An error status ends the call: the server does not keep to the protocol, or it is
// time to give up.
grpc::Status take(Stream& stream, Delivery& delivery, const v1::StreamReply& reply) {
    if (reply.has_opened()) return start(reply.opened(), delivery);
    if (!delivery.is_open) return protocol_broken("answered before it opened the stream");
    if (reply.has_credit() && !delivery.is_sent) return send_frame(stream, delivery);
    if (reply.has_result()) {
        return arrive(stream, delivery, reply.result().sequence(), reply.result());
    }
    // A server that shuts down ends the stream next, and the one after it gets the frame.
    if (reply.has_frame_error() && reply.frame_error().reason() != "SHUTTING_DOWN") {
        const v1::FrameError& error = reply.frame_error();
        // Without a number it is of a message that the server could not read.
        return arrive(stream, delivery, error.sequence() ? error.sequence() : kSequence, error);
    }
    return grpc::Status::OK;
}

// Opens or resumes the stream and reads until the frame is answered or the connection is
// gone; returns how the call ended.
grpc::Status converse(v1::SpineInference::Stub& stub, Delivery& delivery) {
    delivery.is_open = false;
    if (delivery.memory) {
        // On every connection: it may lead to a server that was started anew.
        const grpc::Status registered = register_region(stub, *delivery.memory);
        if (!registered.ok()) return registered;
    }
    grpc::ClientContext context;
    // Not as a time of day: a device's clock may be set meanwhile.
    const auto left = delivery.answer_by - std::chrono::steady_clock::now();
    context.set_deadline(std::chrono::system_clock::now() + left);
    const std::unique_ptr<Stream> stream = stub.Stream(&context);
    stream->Write(opening(delivery));
    grpc::Status objection;
    v1::StreamReply reply;
    while (objection.ok() && !delivery.answer && stream->Read(&reply)) {
        objection = take(*stream, delivery, reply);
    }
    if (!objection.ok()) context.TryCancel();
    stream->WritesDone();
    while (stream->Read(&reply)) {
    }
    const grpc::Status ended = stream->Finish();
    if (!objection.ok()) return objection;
    return ended.ok() ? protocol_broken("ended the stream without an answer") : ended;
}

Answer deliver(v1::SpineInference::Stub& stub, Delivery& delivery) {
    while (true) {
        const grpc::Status status = converse(stub, delivery);
        if (delivery.answer) return *std::move(delivery.answer);
        const Failure failure = failure_from_status(status);
        const auto pause = delivery.comeback.next_pause(failure);
        if (!pause) throw StreamFailed(failure);
        if (failure.reason == "RESUME_TOKEN_UNKNOWN") {
            // Most likely it was started anew: what has no answer is sent again.
            std::cerr << "stream forgotten by the server, opening a new one\n";
            delivery.resume_token.clear();
            delivery.is_received = false;
        } else if (delivery.is_open) {
            std::cerr << "connection lost, resuming\n";
        }
        std::this_thread::sleep_for(*pause);
    }
}

}  // namespace

StreamFailed::StreamFailed(const Failure& failure) : std::runtime_error(told(failure)) {}

Client::Client(const std::string& address, std::string device)
    // Beyond loopback: grpc::SslCredentials, since the resume token is a secret.
    : stub_(v1::SpineInference::NewStub(grpc::CreateCustomChannel(
          address, grpc::InsecureChannelCredentials(), channel_options()))),
      device_(std::move(device)) {}

Answer Client::analyze(v1::Frame frame, const SharedMemory* memory) {
    frame.set_sequence(kSequence);
    Delivery delivery{std::move(frame), memory, device_,
                      std::chrono::steady_clock::now() + kAnswerTimeout};
    const Registration registration{*stub_, memory};
    return deliver(*stub_, delivery);
}
