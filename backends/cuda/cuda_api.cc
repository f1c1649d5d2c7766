// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "cuda.h"
#include "cuda_runtime_api.h"

#include "backends/cuda/cuda_status.h"
#include "backends/cuda/device_api.h"
#include "backends/cuda/launches.h"

namespace pagedkv::cuda {
namespace {

// The runtime remembers an error until somebody asks, and would give it as the
// answer to the next launch.
absl::Status Checked(cudaError_t error, const char* call) {
  if (error != cudaSuccess) cudaGetLastError();
  return RuntimeStatus(error, call);
}

// The driver's calls are fetched and not linked: a program that links its
// library does not start on a machine without the driver.
struct Driver {
  absl::Status status;  // whether there are all
  decltype(&cuGetErrorName) get_error_name = nullptr;
  decltype(&cuMemGetAllocationGranularity) get_granularity = nullptr;
  decltype(&cuMemAddressReserve) reserve = nullptr;
  decltype(&cuMemAddressFree) free = nullptr;
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemSetAccess) set_access = nullptr;
};

template <typename Function>
absl::Status Fetch(const char* name, Function& function) {
  // As of CUDA 12.0: what is asked for has not changed since 10.2.
  constexpr unsigned kVersion = 12000;
  void* address = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  absl::Status status =
      Checked(cudaGetDriverEntryPointByVersion(name, &address, kVersion,
                                               cudaEnableDefault, &result),
              "cudaGetDriverEntryPointByVersion");
  if (!status.ok()) return status;
  if (result != cudaDriverEntryPointSuccess || address == nullptr) {
    return absl::UnavailableError(absl::StrFormat(
        "the CUDA driver has no %s; install a newer one", name));
  }
  function = reinterpret_cast<Function>(address);
  return absl::OkStatus();
}

Driver LoadDriver() {
  Driver driver;
  const auto fetch = [&driver](const char* name, auto& function) {
    if (driver.status.ok()) driver.status = Fetch(name, function);
  };
  fetch("cuGetErrorName", driver.get_error_name);
  fetch("cuMemGetAllocationGranularity", driver.get_granularity);
  fetch("cuMemAddressReserve", driver.reserve);
  fetch("cuMemAddressFree", driver.free);
  fetch("cuMemCreate", driver.create);
  fetch("cuMemRelease", driver.release);
  fetch("cuMemMap", driver.map);
  fetch("cuMemUnmap", driver.unmap);
  fetch("cuMemSetAccess", driver.set_access);
  return driver;
}

const Driver& GetDriver() {
  static const Driver driver = LoadDriver();
  return driver;
}

// Calls the driver, if there is one.
template <typename Call>
absl::Status Driven(const char* name, Call call) {
  const Driver& driver = GetDriver();
  if (!driver.status.ok()) return driver.status;
  const CUresult result = call(driver);
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  const char* error = nullptr;
  driver.get_error_name(result, &error);
  const std::string message =
      absl::StrFormat("%s: %s (%d)", name, error == nullptr ? "error" : error,
                      static_cast<int>(result));
  return result == CUDA_ERROR_OUT_OF_MEMORY
             ? absl::ResourceExhaustedError(message)
             : absl::InternalError(message);
}

CUdeviceptr Address(std::byte* address) {
  return reinterpret_cast<CUdeviceptr>(address);
}

// Of the current device, which its context belongs to.
absl::StatusOr<CUmemLocation> CurrentDevice() {
  int device = 0;
  if (absl::Status s = Checked(cudaGetDevice(&device), "cudaGetDevice");
      !s.ok()) {
    return s;
  }
  // The driver's calls need a context; this makes that of the runtime.
  if (absl::Status s = Checked(cudaFree(nullptr), "cudaFree"); !s.ok()) {
    return s;
  }
  CUmemLocation location{};
  location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  location.id = device;
  return location;
}

CUmemAllocationProp PropertiesAt(const CUmemLocation& location) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = location;
  return properties;
}

class CudaDeviceApi final : public DeviceApi {
 public:
  absl::StatusOr<std::byte*> Allocate(std::int64_t bytes) override {
    void* address = nullptr;
    absl::Status status = Checked(
        cudaMalloc(&address, static_cast<std::size_t>(bytes)), "cudaMalloc");
    if (!status.ok()) return status;
    return static_cast<std::byte*>(address);
  }
  absl::Status Free(std::byte* address) override {
    return Checked(cudaFree(address), "cudaFree");
  }
  absl::StatusOr<std::byte*> AllocatePinned(std::int64_t bytes) override {
    void* address = nullptr;
    absl::Status status =
        Checked(cudaHostAlloc(&address, static_cast<std::size_t>(bytes),
                              cudaHostAllocDefault),
                "cudaHostAlloc");
    if (!status.ok()) return status;
    return static_cast<std::byte*>(address);
  }
  absl::Status FreePinned(std::byte* address) override {
    return Checked(cudaFreeHost(address), "cudaFreeHost");
  }

  absl::Status Pin(std::byte* address, std::int64_t bytes) override {
    return Checked(
        cudaHostRegister(address, static_cast<std::size_t>(bytes),
                         cudaHostRegisterPortable | cudaHostRegisterMapped),
        "cudaHostRegister");
  }
  absl::Status Unpin(std::byte* address) override {
    return Checked(cudaHostUnregister(address), "cudaHostUnregister");
  }
  absl::StatusOr<std::byte*> DeviceAddress(std::byte* host) override {
    cudaPointerAttributes attributes{};
    absl::Status status = Checked(cudaPointerGetAttributes(&attributes, host),
                                  "cudaPointerGetAttributes");
    if (!status.ok()) return status;
    if (attributes.type != cudaMemoryTypeHost) return nullptr;
    return static_cast<std::byte*>(attributes.devicePointer);
  }

  absl::StatusOr<std::int64_t> Granularity() override {
    const absl::StatusOr<CUmemLocation> location = CurrentDevice();
    if (!location.ok()) return location.status();
    const CUmemAllocationProp properties = PropertiesAt(*location);
    std::size_t bytes = 0;
    absl::Status status =
        Driven("cuMemGetAllocationGranularity", [&](const Driver& driver) {
          return driver.get_granularity(&bytes, &properties,
                                        CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
        });
    if (!status.ok()) return status;
    return static_cast<std::int64_t>(bytes);
  }
  absl::StatusOr<std::byte*> ReserveAddresses(std::int64_t bytes) override {
    CUdeviceptr address = 0;
    absl::Status status =
        Driven("cuMemAddressReserve", [&](const Driver& driver) {
          return driver.reserve(&address, static_cast<std::size_t>(bytes), 0, 0,
                                0);
        });
    if (!status.ok()) return status;
    return reinterpret_cast<std::byte*>(address);
  }
  absl::Status FreeAddresses(std::byte* address, std::int64_t bytes) override {
    return Driven("cuMemAddressFree", [&](const Driver& driver) {
      return driver.free(Address(address), static_cast<std::size_t>(bytes));
    });
  }
  absl::StatusOr<std::uint64_t> CreatePhysical(std::int64_t bytes) override {
    const absl::StatusOr<CUmemLocation> location = CurrentDevice();
    if (!location.ok()) return location.status();
    const CUmemAllocationProp properties = PropertiesAt(*location);
    CUmemGenericAllocationHandle handle = 0;
    absl::Status status = Driven("cuMemCreate", [&](const Driver& driver) {
      return driver.create(&handle, static_cast<std::size_t>(bytes),
                           &properties, 0);
    });
    if (!status.ok()) return status;
    return handle;
  }
  absl::Status ReleasePhysical(std::uint64_t handle) override {
    return Driven("cuMemRelease",
                  [&](const Driver& driver) { return driver.release(handle); });
  }
  absl::Status Map(std::byte* address, std::int64_t bytes,
                   std::uint64_t handle) override {
    return Driven("cuMemMap", [&](const Driver& driver) {
      return driver.map(Address(address), static_cast<std::size_t>(bytes), 0,
                        handle, 0);
    });
  }
  absl::Status Unmap(std::byte* address, std::int64_t bytes) override {
    return Driven("cuMemUnmap", [&](const Driver& driver) {
      return driver.unmap(Address(address), static_cast<std::size_t>(bytes));
    });
  }
  absl::Status AllowAccess(std::byte* address, std::int64_t bytes) override {
    const absl::StatusOr<CUmemLocation> location = CurrentDevice();
    if (!location.ok()) return location.status();
    CUmemAccessDesc access{};
    access.location = *location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    return Driven("cuMemSetAccess", [&](const Driver& driver) {
      return driver.set_access(Address(address),
                               static_cast<std::size_t>(bytes), &access, 1);
    });
  }

  absl::Status Copy(std::byte* to, const std::byte* from, std::int64_t bytes,
                    Stream stream) override {
    return Checked(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes),
                                   cudaMemcpyDefault, stream),
                   "cudaMemcpyAsync");
  }
  absl::Status Synchronize(Stream stream) override {
    return Checked(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  }
  absl::StatusOr<Event> CreateEvent() override {
    cudaEvent_t event = nullptr;
    absl::Status status =
        Checked(cudaEventCreateWithFlags(&event, cudaEventDisableTiming),
                "cudaEventCreateWithFlags");
    if (!status.ok()) return status;
    return event;
  }
  absl::Status DestroyEvent(Event event) override {
    return Checked(cudaEventDestroy(event), "cudaEventDestroy");
  }
  absl::Status Record(Event event, Stream stream) override {
    return Checked(cudaEventRecord(event, stream), "cudaEventRecord");
  }
  absl::StatusOr<bool> IsDone(Event event) override {
    const cudaError_t error = cudaEventQuery(event);
    if (error == cudaErrorNotReady) {
      cudaGetLastError();
      return false;
    }
    absl::Status status = Checked(error, "cudaEventQuery");
    if (!status.ok()) return status;
    return true;
  }
  absl::Status Wait(Event event) override {
    return Checked(cudaEventSynchronize(event), "cudaEventSynchronize");
  }

  absl::Status Move(const MoveTable& table, Stream stream) override {
    return RuntimeStatus(LaunchMoves(table, stream), "launch of moves");
  }
  absl::Status Fill(const FillTable& table, Stream stream) override {
    return RuntimeStatus(LaunchFills(table, stream), "launch of fills");
  }
};

}  // namespace

DeviceApi& CudaApi() {
  static CudaDeviceApi api;
  return api;
}

int NumDevices() {
  // Without a driver the call fails and leaves the count as it is.
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

}  // namespace pagedkv::cuda
