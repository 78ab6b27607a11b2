// The named activations as policies: `T operator()(T a) const`, one number in, one out. NaN stays NaN in all of them.
//
// The names and formulas are those of saiki/core/activations.py, which a test compares number by number.
#pragma once

#include <cmath>
#include <string_view>

namespace saiki {

template <class T>
T sigmoid(T a) {
    return T(1) / (T(1) + std::exp(-a));  // exp may overflow to infinity, whose inverse is the right 0
}

template <class T>
T clip01(T a) {
    return a < T(0) ? T(0) : (a > T(1) ? T(1) : a);  // every comparison with NaN is false, so NaN comes through
}

struct Tanh {
    template <class T> T operator()(T a) const { return std::tanh(a); }
};
struct Sigmoid {
    template <class T> T operator()(T a) const { return sigmoid(a); }
};
struct HardSigmoid {
    template <class T> T operator()(T a) const { return clip01(a / T(6) + T(0.5)); }
};
struct HardSigmoidKeras2 {
    template <class T> T operator()(T a) const { return clip01(T(0.2) * a + T(0.5)); }
};
struct Relu {
    template <class T> T operator()(T a) const { return a < T(0) ? T(0) : a; }
};
struct LeakyRelu {
    template <class T> T operator()(T a) const { return a < T(0) ? T(0.01) * a : a; }
};
struct Softsign {
    template <class T> T operator()(T a) const { return a / (T(1) + std::abs(a)); }
};
struct Identity {
    template <class T> T operator()(T a) const { return a; }
};
struct SigmoidPm2 {
    template <class T> T operator()(T a) const { return T(4) * sigmoid(a) - T(2); }
};
struct SigmoidPm1 {
    template <class T> T operator()(T a) const { return T(2) * sigmoid(a) - T(1); }
};

/// Call `use(policy)` with the activation of this name; false, without calling, if there is none.
template <class Use>
bool with_activation(std::string_view name, Use&& use) {
    if (name == "tanh") use(Tanh{});
    else if (name == "sigmoid") use(Sigmoid{});
    else if (name == "hard_sigmoid") use(HardSigmoid{});
    else if (name == "hard_sigmoid_keras2") use(HardSigmoidKeras2{});
    else if (name == "relu") use(Relu{});
    else if (name == "leaky_relu") use(LeakyRelu{});
    else if (name == "softsign") use(Softsign{});
    else if (name == "identity") use(Identity{});
    else if (name == "sigmoid_pm2") use(SigmoidPm2{});
    else if (name == "sigmoid_pm1") use(SigmoidPm1{});
    else return false;
    return true;
}

}  // namespace saiki
