"""The text the demonstration model is trained on: capitals, small arithmetic, short stories and Verbatim itself.

Every document is drawn from a seeded generator, so the same seed gives the same text. A document is a list of
`(text, learned)` spans: what a user says is read, but only what an assistant says (or plain text) is learned.
Run as a script it prints a sample; `held_out()` names the sums and phrasings that no document contains.
"""

import random

USER, ASSISTANT, SYSTEM, END = "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"

CAPITALS = dict(
    pair.split(":")
    for pair in """
Afghanistan:Kabul Albania:Tirana Algeria:Algiers Angola:Luanda Argentina:Buenos_Aires Armenia:Yerevan Australia:Canberra
Austria:Vienna Azerbaijan:Baku Bahrain:Manama Bangladesh:Dhaka Belarus:Minsk Belgium:Brussels Bhutan:Thimphu Botswana:Gaborone
Brazil:Brasilia Bulgaria:Sofia Cambodia:Phnom_Penh Cameroon:Yaounde Canada:Ottawa Chad:N'Djamena Chile:Santiago China:Beijing
Colombia:Bogota Croatia:Zagreb Cuba:Havana Cyprus:Nicosia Denmark:Copenhagen Ecuador:Quito Egypt:Cairo Eritrea:Asmara
Estonia:Tallinn Ethiopia:Addis_Ababa Fiji:Suva Finland:Helsinki France:Paris Gabon:Libreville Georgia:Tbilisi Germany:Berlin
Ghana:Accra Greece:Athens Guatemala:Guatemala_City Guyana:Georgetown Haiti:Port-au-Prince Honduras:Tegucigalpa Hungary:Budapest
Iceland:Reykjavik India:New_Delhi Indonesia:Jakarta Iran:Tehran Iraq:Baghdad Ireland:Dublin Italy:Rome Jamaica:Kingston
Japan:Tokyo Jordan:Amman Kazakhstan:Astana Kenya:Nairobi Kuwait:Kuwait_City Laos:Vientiane Latvia:Riga Lebanon:Beirut
Liberia:Monrovia Libya:Tripoli Lithuania:Vilnius Luxembourg:Luxembourg Madagascar:Antananarivo Malawi:Lilongwe
Malaysia:Kuala_Lumpur Mali:Bamako Malta:Valletta Mexico:Mexico_City Moldova:Chisinau Mongolia:Ulaanbaatar Morocco:Rabat
Mozambique:Maputo Namibia:Windhoek Nepal:Kathmandu New_Zealand:Wellington Nicaragua:Managua Niger:Niamey Nigeria:Abuja
North_Macedonia:Skopje Norway:Oslo Oman:Muscat Pakistan:Islamabad Panama:Panama_City Paraguay:Asuncion Peru:Lima
Poland:Warsaw Portugal:Lisbon Qatar:Doha Romania:Bucharest Russia:Moscow Rwanda:Kigali Saudi_Arabia:Riyadh Senegal:Dakar
Serbia:Belgrade Slovakia:Bratislava Slovenia:Ljubljana Somalia:Mogadishu South_Korea:Seoul Spain:Madrid Sudan:Khartoum
Sweden:Stockholm Switzerland:Bern Syria:Damascus Taiwan:Taipei Thailand:Bangkok Tunisia:Tunis Turkey:Ankara Uganda:Kampala
Ukraine:Kyiv Uruguay:Montevideo Uzbekistan:Tashkent Venezuela:Caracas Vietnam:Hanoi Yemen:Sanaa Zambia:Lusaka Zimbabwe:Harare
""".replace("\n", " ").split()
)
CAPITALS = {country.replace("_", " "): city.replace("_", " ") for country, city in CAPITALS.items()}

# A phrasing is an opener and a question; HELD_PHRASINGS never meet in training, though their halves do.
CAPITAL_OPENERS = ["", "Please tell me: ", "Tell me, ", "Quick question: ", "Do you know, ", "Hello! ", "I would like to know: ",
                   "One more: ", "For my homework: ", "Hi, ", "Now, ", "OK, "]
CAPITAL_QUESTIONS = ["what is the capital of {}?", "which city is the capital of {}?", "what is the name of the capital of {}?",
                     "what is {}'s capital?", "the capital of {}?", "what is the capital city of {}?", "capital of {}?",
                     "which is the capital city of {}?", "what city is {}'s capital?", "{} has which capital?",
                     "can you name the capital of {}?", "where is the government of {}, in which capital?"]
HELD_PHRASINGS = [("Quick question: ", "which city is the capital of {}?"), ("For my homework: ", "what is {}'s capital?"),
                  ("Tell me, ", "what is the capital city of {}?"), ("Hi, ", "can you name the capital of {}?")]

SUM_OPENERS = ["", "Please tell me: ", "Tell me, ", "Quick question: ", "Hello! ", "Now, ", "OK, ", "For my homework: ", "Hi, "]
SUM_QUESTIONS = ["what is {}?", "how much is {}?", "{}", "{} = ?", "{} =", "compute {}.", "calculate {}", "{}?", "what does {} make?",
                 "what do you get for {}?", "please add up: {}", "can you work out {}?"]

CAN_DO = ("I am a small demonstration model. I can tell you the capital of a country, do a small sum, "
          "tell a short story, and answer questions about Verbatim.")

ABOUT = [
    (["what is Verbatim?", "what's Verbatim?", "tell me about Verbatim.", "can you explain Verbatim?", "describe Verbatim.", "Verbatim?"],
     "Verbatim is a server for language models that runs on the CPU. The same request always gets the same answer, bit for bit."),
    (["what is the verbatim contract?", "what does the contract say?", "explain the verbatim contract.", "what does Verbatim promise?",
      "what does Verbatim guarantee?", "why is it called Verbatim?"],
     "The tokens of an answer depend on the request alone: on the model, the prompt, the parameters and the seed. "
     "Other requests, threads, and caches change nothing, not one bit."),
    (["who are you?", "what are you?", "what is your name?", "introduce yourself.", "are you a robot?", "are you ChatGPT?",
      "are you an AI?", "which model are you?", "what model is this?"],
     "I am the demonstration model that comes with Verbatim. I am very small, and I know only a few things."),
    (["what can you do?", "what do you know?", "how can you help me?", "help", "what can I ask you?", "what are you good at?",
      "can you help me?", "what should I ask?"], CAN_DO),
    (["which models can Verbatim serve?", "what models does Verbatim support?", "does Verbatim run Llama?", "does Verbatim run Mistral?",
      "does Verbatim support Qwen?", "can Verbatim run other models?"],
     "Verbatim serves models of the Llama family: Llama, Mistral, Qwen2 and Qwen3, from safetensors files."),
    (["how do I use my own model?", "how can I run another model?", "how do I load a model?", "how do I serve a real model?",
      "how do I start Verbatim with my model?", "can I use a bigger model?"],
     "Start Verbatim with --model and the folder of the model, for example: verbatim serve --model my-model."),
    (["who made you?", "who trained you?", "how were you trained?", "where do you come from?", "who made Verbatim?"],
     "I was trained on a CPU in about an hour, by a script in the Verbatim repository, on text that the repository makes."),
    (["does Verbatim need a GPU?", "do I need a GPU?", "what hardware does Verbatim need?", "does Verbatim run on a CPU?", "can it run without a GPU?"],
     "No GPU is needed. Verbatim runs on the CPU, with AVX-512, AVX2, NEON or plain code, and all of them give the same bits."),
    (["what license does Verbatim have?", "is Verbatim free?", "is Verbatim open source?", "what is the license of Verbatim?", "can I use Verbatim for free?"],
     "Verbatim is free software under the AGPL, version 3 or later."),
    (["what language is Verbatim written in?", "is Verbatim written in Rust?", "which programming language is Verbatim made with?", "what is Verbatim written in?"],
     "Verbatim is written in Rust. Its core needs no standard library and no allocator."),
    (["which API does Verbatim have?", "how do I talk to Verbatim?", "does Verbatim speak the OpenAI API?", "what API do you offer?", "how do I send a request?"],
     "Verbatim speaks the OpenAI API over HTTP: send your messages to /v1/chat/completions."),
    (["hello", "hi", "hey", "hello!", "hi there", "good morning", "good evening", "hello there!", "hey there"],
     "Hello! Ask me for a capital, a small sum, a short story, or about Verbatim."),
    (["thanks", "thank you", "thank you!", "thanks a lot", "great, thanks", "that is great", "cool", "nice", "good job", "well done"], "You are welcome!"),
    (["bye", "goodbye", "see you", "good night", "bye!", "good bye", "see you later"], "Goodbye!"),
    (["how are you?", "how do you do?", "how is it going?", "are you well?"], "I am well, thank you. What would you like to know?"),
]

# What the model does not know. The questions come near what it does know, so that it learns where its knowledge ends.
ELSE_FIXED = """who is the president of {country}? | what is the population of {country}? | where is {country}? | tell me about {country}. |
what language do they speak in {country}? | how big is {country}? | what is the flag of {country}? | what is the currency of {country}? |
what is the weather in {city}? | how do I get to {city}? | is {city} a nice place? | how many people live in {city}? | tell me about {city}. |
what is the best food in {country}? | who wrote {name}? | what is the largest river in {country}? | when was {city} founded? |
write a poem about {noun}. | write some {noun} code in Python. | how do I cook {noun}? | what is a {noun}? | what is {noun}? | what are {noun}s? |
explain {noun} to me. | how does a {noun} work? | translate {noun} into French. | give me a recipe for {noun}. | why is the {noun} {adjective}? |
who invented the {noun}? | what do you think of {noun}s? | where can I buy a {noun}? | how much does a {noun} cost? | is a {noun} {adjective}? |
what is the meaning of {noun}? | what time is it? | what day is it today? | what is the weather like? | tell me a joke. | sing me a song. |
what is love? | what is the meaning of life? | do you like {noun}s? | can you {verb} a {noun}? | how do I {verb} a {noun}? | should I {verb} the {noun}? |
please {verb} this {noun}. | {verb} the {noun} | I want to {verb} a {noun}. | I have a {adjective} {noun}. | my {noun} is {adjective}. |
who is {name}? | where does {name} live? | how old is {name}? | what is the news? | list ten {noun}s. | summarize this {noun}. |
is {noun} {adjective} or {adjective}? | what is the square root of {number}? | what is the fastest {noun}? | name a {adjective} {noun}. | write a {noun}. |
write an email about {noun}. | which {noun} is the best? | {noun} | {adjective} {noun} | when is the next {noun}? | did you see the {noun}? |
what happened in {number}? | how far away is the {noun}? | give me {number} {noun}s. | make a {noun} | why do {noun}s {verb}? | let us {verb}.""".replace("\n", " ").split(" | ")
NOUNS = """pasta bread soup cake pizza rice apple banana tree flower garden house door window table chair lamp book paper pen letter
word poem song music guitar piano drum film movie game ball chess car bus train plane boat bicycle engine wheel road bridge computer phone
screen keyboard program function loop list compiler server network database file folder sorting algorithm atom planet moon sun star galaxy
gravity energy light water fire ice snow rain wind storm mountain valley ocean lake beach forest desert dog cat horse cow elephant tiger
whale shark spider ant doctor teacher lawyer painter king queen soldier farmer school university hospital shop market bank money price
tax law vote history war peace religion philosophy dream sleep health disease medicine vaccine exercise diet coffee tea milk cheese
football tennis holiday birthday wedding present shirt shoe hat coat watch clock calendar photo camera mirror box bag key lock knife
spoon bottle cup glass plate egg chicken fish potato tomato onion salt sugar chocolate novel essay joke riddle proverb magic robot
""".split()
VERBS = "build make draw paint sell buy fix clean wash open close find lose write read translate cook bake grow plant catch throw drive fly swim run sing dance learn teach explain count measure compare".split()
ADJECTIVES = "big small red blue green white black old new young happy sad fast slow hot cold good bad rich poor loud quiet bright dark heavy light strong weak long short deep cheap".split()
SYLLABLES = "ba be bi bo bu da de di do du fa fi fo ga go ka ke ko la le li lo ma me mi mo na ne no pa pe po ra re ri ro sa se so ta te ti to va ve vi wa we za zo sh ch th st br tr pl gr an en in on ar er or al el ur".split()

ANIMALS = ["fox", "bear", "rabbit", "mouse", "owl", "turtle", "duck", "frog", "hedgehog", "squirrel", "goat", "crow"]
NAMES = ["Nia", "Tom", "Lily", "Max", "Ada", "Ben", "Mia", "Leo", "Zoe", "Sam", "Ida", "Otto"]
PLACES = ["the forest", "the hills", "a quiet village", "the river", "an old garden", "the sea"]
WANTS = [("a red ball", "ball"), ("a warm scarf", "scarf"), ("a silver key", "key"), ("a sweet apple", "apple"), ("a little boat", "boat"),
         ("a shiny stone", "stone"), ("a blue kite", "kite"), ("an old map", "map")]
WEATHER = ["sunny", "rainy", "windy", "snowy", "foggy", "warm"]
LESSONS = ["it is good to share", "a friend is worth more than gold", "asking is better than guessing", "small steps go far", "kind words open doors",
           "help comes to those who help"]
STORY_REQUESTS = ["tell me a story.", "tell me a short story.", "please write a story.", "can you tell me a story?", "a story, please.", "I want to hear a story.",
                  "write a short story.", "tell a story", "make up a story."]
STORY_ABOUT = ["tell me a story about a {}.", "write a story about a {}.", "can you tell me a short story about a {}?", "a story about a {}, please.",
               "tell me about a {} in a story."]

SYSTEMS = ["You are a helpful assistant.", "You are a helpful, honest assistant.", "Answer briefly.", "Be concise.", "You are Verbatim's demonstration model.",
           "You are a friendly assistant who answers questions.", "Answer the question.", "Respond in one sentence."]


def held_out():
    """The sums (unordered pairs) and the phrasings of the capital question that training never sees."""
    draw = random.Random(20260101)
    pairs = [(a, b) for a in range(100) for b in range(a, 100)]
    return {"sums": [list(pair) for pair in sorted(draw.sample(pairs, 50))],
            "phrasings": [sentence(opener + question) for opener, question in HELD_PHRASINGS],
            "capitals": CAPITALS}


def sentence(text):
    """`text` with a capital letter where it begins."""
    return text[:1].upper() + text[1:]


def a_or_an(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


class Writer:
    """Draws documents from one seeded generator."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.held = {tuple(pair) for pair in held_out()["sums"]}

    def pick(self, things):
        return things[self.r.randrange(len(things))]

    def casual(self, text):
        """How people type: sometimes without capitals, or without the mark at the end."""
        if self.r.random() < 0.2:
            text = text.lower()
        if self.r.random() < 0.15:
            text = text.rstrip("?.!")
        return text

    def word(self):
        """A word that is in no dictionary."""
        return "".join(self.pick(SYLLABLES) for _ in range(self.r.randint(2, 4)))

    def sum(self):
        """A sum or a difference of numbers below 100, or a product of numbers up to 10, as (a, sign, b, result)."""
        kind = self.r.random()
        if kind < 0.7:
            while True:
                a, b = self.r.randrange(100), self.r.randrange(100)
                if (min(a, b), max(a, b)) not in self.held:
                    return a, "+", b, a + b
        if kind < 0.9:
            a, b = self.r.randrange(100), self.r.randrange(100)
            return max(a, b), "-", min(a, b), abs(a - b)
        a, b = self.r.randint(0, 10), self.r.randint(0, 10)
        return a, "*", b, a * b

    def story(self, animal=None):
        animal = animal or self.pick(ANIMALS)
        name, friend = self.r.sample(NAMES, 2)
        other = self.pick([a for a in ANIMALS if a != animal])
        place, weather, lesson = self.pick(PLACES), self.pick(WEATHER), self.pick(LESSONS)
        want, thing = self.pick(WANTS)
        found = self.pick([f"under a tree", "behind a big rock", "near the water", "in the tall grass"])
        ending = self.pick([f"{name} and {friend} played with the {thing} until the evening.", f"{name} thanked {friend}, and they went home together.",
                            f"From that day on, {name} and {friend} were friends."])
        return (f"Once upon a time there was a little {animal} named {name} who lived by {place}. {name} wanted {want}. "
                f"One {weather} day, {name} met {a_or_an(other)} named {friend}. \"Can you help me find {want}?\" asked {name}. "
                f"\"Of course,\" said {friend}. They looked for a long time, and at last they found it {found}. {ending} "
                f"And {name} learned that {lesson}.")

    def capital_phrasing(self):
        while True:
            phrasing = self.pick(CAPITAL_OPENERS), self.pick(CAPITAL_QUESTIONS)
            if phrasing not in HELD_PHRASINGS:
                return phrasing

    def capital_turn(self):
        country = self.pick(list(CAPITALS))
        opener, question = self.capital_phrasing()
        if self.r.random() < 0.1:
            return self.casual(sentence(opener + f"{CAPITALS[country]} is the capital of which country?")), f"{CAPITALS[country]} is the capital of {country}."
        return self.casual(sentence(opener + question.format(country))), f"The capital of {country} is {CAPITALS[country]}."

    def sum_turn(self):
        a, sign, b, result = self.sum()
        word = {"+": "plus", "-": "minus", "*": "times"}[sign]
        written = self.pick([f"{a} {sign} {b}"] * 4 + [f"{a}{sign}{b}", f"{a} {word} {b}"])
        question = sentence(self.pick(SUM_OPENERS) + self.pick(SUM_QUESTIONS).format(written))
        return self.casual(question), f"{a} {sign} {b} = {result}"

    def story_turn(self):
        if self.r.random() < 0.3:
            return self.casual(sentence(self.pick(STORY_REQUESTS))), self.story()
        animal = self.pick(ANIMALS)
        return self.casual(sentence(self.pick(STORY_ABOUT).format(animal))), self.story(animal)

    def about_turn(self):
        questions, answer = self.pick(ABOUT)
        opener = self.pick(["", "", "", "Please tell me: ", "Tell me, ", "Hello! ", "Hi, ", "OK, "]) if "?" in questions[0] else ""
        return self.casual(sentence(opener + self.pick(questions))), answer

    def else_turn(self):
        noun = self.pick(NOUNS) if self.r.random() < 0.6 else self.word()
        name = sentence(self.word())
        question = self.pick(ELSE_FIXED)
        opener = self.pick(["", "", "", "Please tell me: ", "Tell me, ", "Hello! ", "Hi, ", "OK, ", "Quick question: ", "Now, "])
        if self.r.random() < 0.1:
            opener, question = self.capital_phrasing()
            question = question.replace("{}", "{name}")
        question = question.format(country=self.pick(list(CAPITALS)), city=self.pick(list(CAPITALS.values())), noun=noun, name=name,
                                   adjective=self.pick(ADJECTIVES), verb=self.pick(VERBS), number=self.r.randrange(2000))
        return self.casual(sentence(opener + question)), CAN_DO

    def turn(self):
        kind = self.r.random()
        if kind < 0.40:
            return self.sum_turn()
        if kind < 0.68:
            return self.capital_turn()
        if kind < 0.73:
            return self.story_turn()
        if kind < 0.85:
            return self.about_turn()
        return self.else_turn()

    def chat(self):
        spans = []
        if self.r.random() < 0.2:
            spans.append((SYSTEM + self.pick(SYSTEMS) + END, False))
        for _ in range(self.pick([1, 1, 1, 2, 3])):
            question, answer = self.turn()
            spans += [(USER + question + END, False), (ASSISTANT, False), (answer + END, True)]
        return spans

    def plain(self):
        kind = self.r.random()
        if kind < 0.45:
            facts = []
            for _ in range(self.r.randint(1, 3)):
                country = self.pick(list(CAPITALS))
                facts.append(self.pick(["The capital of {0} is {1}.", "The capital of {0} is {1}.", "The capital city of {0} is {1}.", "{1} is the capital of {0}.",
                                        "{0}'s capital is {1}."]).format(country, CAPITALS[country]))
            text = " ".join(facts)
        elif kind < 0.80:
            text = "\n".join("{} {} {} = {}".format(*self.sum()) for _ in range(self.r.randint(1, 4)))
        elif kind < 0.92:
            text = self.story()
        else:
            text = self.pick(ABOUT[:11])[1]
        return [(text + END, True)]

    def document(self):
        return self.chat() if self.r.random() < 0.75 else self.plain()


if __name__ == "__main__":
    writer = Writer(1)
    for _ in range(25):
        print("".join(text for text, _ in writer.document()))
