// Every activation, its slope and the exponential against long double, on a dense sweep and on the numbers where
// functions break. One line each: name, type, what, the worst error in units of the last place; the exit status is 1 if
// one of them is too large.
//
// An error counts in units of the true value's last place, or of the smallest normal number's if that is larger, and
// below the smallest normal number there is none: the kernels flush what is smaller. Where the formula itself cancels
// (a/6 + 1/2 near its zero, a slope near a saturated y), it counts in units of the last place of the largest term.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include "../activation.h"

namespace kernels = saiki::SAIKI_TARGET;
using Real = long double;
using saiki::Activation;

namespace {

constexpr Real infinity = std::numeric_limits<Real>::infinity();
bool flushed = false;  // whether the processor takes numbers below the normal ones for 0

Real clip(Real a, Real low, Real high) { return a < low ? low : a > high ? high : a; }

Real value(Activation which, Real a) {
    switch (which) {
        case Activation::tanh: return std::tanh(a);
        case Activation::sigmoid: return 1 / (1 + std::exp(-a));
        case Activation::hard_sigmoid: return clip(a / 6 + 0.5L, 0, 1);
        case Activation::hard_sigmoid_keras2: return clip(a / 5 + 0.5L, 0, 1);
        case Activation::relu: return a < 0 ? 0 : a;
        case Activation::leaky_relu: return a > 0 ? a : a / 100;
        case Activation::softsign: return std::isinf(a) ? std::copysign(1.0L, a) : a / (1 + std::fabs(a));
        case Activation::identity: return a;
        case Activation::sigmoid_pm2: return 2 * std::tanh(a / 2);
        case Activation::sigmoid_pm1: return std::tanh(a / 2);
    }
    return a;
}

Real slope(Activation which, Real y) {
    switch (which) {
        case Activation::tanh: return 1 - y * y;
        case Activation::sigmoid: return y * (1 - y);
        case Activation::hard_sigmoid: return y > 0 && y < 1 ? 1 / 6.0L : 0;
        case Activation::hard_sigmoid_keras2: return y > 0 && y < 1 ? 1 / 5.0L : 0;
        case Activation::relu: return y > 0 ? 1 : 0;
        case Activation::leaky_relu: return y > 0 ? 1 : 0.01L;
        case Activation::softsign: return (1 - std::fabs(y)) * (1 - std::fabs(y));
        case Activation::identity: return 1;
        case Activation::sigmoid_pm2: return (2 + y) * (2 - y) / 4;
        case Activation::sigmoid_pm1: return (1 - y * y) / 2;
    }
    return y;
}

/// The largest term of the sum that gives the value: where it cancels, no more than its last place can be right.
Real value_term(Activation which) {
    return which == Activation::hard_sigmoid || which == Activation::hard_sigmoid_keras2 ? 0.5L : 0;
}
Real slope_term(Activation which, Real y) { return which == Activation::sigmoid ? std::fabs(y) : 1; }

template <class T>
Real last_place(Real x) {
    x = std::fmax(std::fabs(x), static_cast<Real>(std::numeric_limits<T>::min()));
    if (x > static_cast<Real>(std::numeric_limits<T>::max())) x = std::numeric_limits<T>::max();
    int exponent;
    std::frexp(x, &exponent);
    return std::ldexp(1.0L, exponent - std::numeric_limits<T>::digits);
}

template <class T>
Real distance(T ours, Real truth, Real term) {
    if (std::isnan(truth)) return std::isnan(ours) ? 0 : infinity;
    if (std::isinf(ours)) return static_cast<T>(truth) == ours ? 0 : infinity;
    const Real tiny = (flushed ? 2 : 1) * static_cast<Real>(std::numeric_limits<T>::min());  // 2: some take a/2
    if (std::fabs(static_cast<Real>(ours)) < tiny && std::fabs(truth) < tiny) return 0;
    const Real d = std::fabs(ours - truth) / last_place<T>(std::fmax(std::fabs(truth), term));
    return std::isnan(d) ? infinity : d;
}

/// Numbers of every size and sign, dense where the functions bend, and whatever is special.
template <class T>
std::vector<T> inputs() {
    using Limits = std::numeric_limits<T>;
    std::vector<T> all = {0, Limits::denorm_min(), Limits::min() / 2, Limits::min(), Limits::epsilon(), 1, 2, 3, 2.5,
                          Limits::max(), Limits::infinity(), Limits::quiet_NaN()};
    for (int k = 1; k <= 20000; ++k) all.push_back(static_cast<T>(k) * static_cast<T>(0.001003));  // to 20
    for (int k = 1; k <= 8000; ++k) all.push_back(20 + static_cast<T>(k) * static_cast<T>(0.0931));   // to 765
    const T factor = static_cast<T>(sizeof(T) == sizeof(float) ? 1.0137 : 1.0937);
    for (T x = Limits::min(); x < Limits::max() / 2; x *= factor) all.push_back(x);
    for (int n = 1; n <= 1100; ++n) {  // where n of e^a = 2^n e^r steps
        const T edge = static_cast<T>((n - 0.5L) * std::log(2.0L));
        all.insert(all.end(), {edge, std::nextafter(edge, T(0)), std::nextafter(edge, Limits::max()), edge / 2});
    }
    const std::size_t half = all.size();
    for (std::size_t k = 0; k < half; ++k) all.push_back(-all[k]);
    while (all.size() % kernels::width<T>) all.push_back(0);
    return all;
}

struct Worst {
    Real error = 0, at = 0;
    void see(Real e, Real x) {
        if (e > error) error = e, at = x;
    }
};

bool report(const char* name, const char* type, const char* what, Worst worst, Real allowed) {
    const bool good = worst.error <= allowed;
    std::printf("%-20s %-7s %-7s %8.3Lf ulp at %.9Lg%s\n", name, type, what, worst.error, worst.at,
                good ? "" : "  TOO MUCH");
    return good;
}

template <class T, class Function>
std::vector<T> apply(const std::vector<T>& x, const Function& f) {
    std::vector<T> y(x.size(), std::numeric_limits<T>::quiet_NaN());
    for (std::size_t k = 0; k < x.size(); k += kernels::width<T>) kernels::store<T>(&y[k], f(kernels::load<T>(&x[k])));
    return y;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

template <Activation A, class T>
bool check(const std::vector<T>& x, const char* type) {
    using kernels::Vec;
    const char* name = saiki::activation_names[static_cast<int>(A)];
    const kernels::Named<T> named{A};
    const auto y = apply(x, [](Vec<T> a) { return kernels::Fixed<A, T>::value(a); });
    const auto d = apply(y, [](Vec<T> a) { return kernels::Fixed<A, T>::slope(a); });
    bool good = true;
    if (!same_bits(y, apply(x, [&](Vec<T> a) { return named.value(a); })) ||
        !same_bits(d, apply(y, [&](Vec<T> a) { return named.slope(a); }))) {
        std::printf("%s %s: by name at run time it gives other numbers\n", name, type);
        good = false;
    }
    Worst values, slopes;
    for (std::size_t k = 0; k < x.size(); ++k) {
        values.see(distance<T>(y[k], value(A, x[k]), value_term(A)), x[k]);
        if (!std::isinf(y[k])) slopes.see(distance<T>(d[k], slope(A, y[k]), slope_term(A, y[k])), y[k]);
    }
    good &= report(name, type, "value", values, 4);
    good &= report(name, type, "slope", slopes, 2);
    return good;
}

template <class T>
bool check_all(const char* type) {
    const auto x = inputs<T>();
    const auto e = apply(x, [](kernels::Vec<T> a) { return kernels::exp<T>(a); });
    Worst worst;
    for (std::size_t k = 0; k < x.size(); ++k) worst.see(distance<T>(e[k], std::exp(static_cast<Real>(x[k])), 0), x[k]);
    bool good = report("exp", type, "value", worst, 4);
    good &= check<Activation::tanh>(x, type);
    good &= check<Activation::sigmoid>(x, type);
    good &= check<Activation::hard_sigmoid>(x, type);
    good &= check<Activation::hard_sigmoid_keras2>(x, type);
    good &= check<Activation::relu>(x, type);
    good &= check<Activation::leaky_relu>(x, type);
    good &= check<Activation::softsign>(x, type);
    good &= check<Activation::identity>(x, type);
    good &= check<Activation::sigmoid_pm2>(x, type);
    good &= check<Activation::sigmoid_pm1>(x, type);
    return good;
}

}  // namespace

int main() {
    bool good = check_all<float>("float32");
    good &= check_all<double>("float64");
#if defined(__SSE2__)  // and as the kernels run: numbers below the normal ones, coming in or out, are 0
    _mm_setcsr(_mm_getcsr() | 0x8040);
    flushed = true;
    std::printf("With denormals flushed:\n");
    good &= check_all<float>("float32");
    good &= check_all<double>("float64");
#endif
    return good ? 0 : 1;
}
